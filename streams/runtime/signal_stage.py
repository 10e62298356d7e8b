"""What the tasks of signals, causes and alerts from outside are made of."""

from dataclasses import replace

from streams.contract.model import Contract
from streams.contract.rules import compile_signal_rule
from streams.core.alerts.external import ExternalSettings
from streams.core.alerts.settings import RuleSettings
from streams.core.causes.parameters import PARAMETERS, CauseParameters
from streams.core.incidents.topology import Place, Topology
from streams.core.signals.impact import Pipeline
from streams.core.signals.watch import WatchSettings
from streams.core.signals.windows import SignalWindowSettings
from streams.engine.causes import CauseSettings
from streams.engine.signals import SignalSettings
from streams.settings import WorkerSettings
from streams.units import SECOND_US


def signal_settings(settings: WorkerSettings, contract: Contract | None) -> SignalSettings:
    """Return rules, windows and bounds of the signals task."""
    window_us = round(settings.window_seconds * SECOND_US)
    windows = SignalWindowSettings(window_us=window_us)
    watch = WatchSettings(
        max_counters=settings.signal_groups_max,
        max_groups=settings.signal_groups_max,
        max_baselines=settings.signal_baselines_max,
        warm_up_us=round(settings.warm_up_seconds * SECOND_US),
    )
    alerts = RuleSettings(quiet_us=round(settings.quiet_seconds * SECOND_US))
    if contract is None:
        return SignalSettings((), windows, watch, alerts)
    rules = tuple(
        compile_signal_rule(rule, window_us, contract.playbooks, settings.rule_time_ratio)
        for rule in contract.rules
    )
    return SignalSettings(rules, windows, watch, alerts, contract.version)


def external_settings(contract: Contract | None) -> ExternalSettings:
    """Return how alerts from outside are read."""
    if contract is None:
        return ExternalSettings()
    given = contract.external_alerts
    return ExternalSettings(
        module_labels=given.module_labels,
        modules=given.modules,
        severity_label=given.severity_label,
        severities=given.severities,
        expire_us=round(given.expire_s * SECOND_US),
    )


def cause_parameters(settings: WorkerSettings) -> CauseParameters:
    """Return the constants of the evidence: their times shrink as those of the rules do."""
    ratio = settings.rule_time_ratio
    window_us = round(settings.window_seconds * SECOND_US)

    def scaled(span_us: int) -> int:
        return max(window_us, round(span_us * ratio / window_us) * window_us)

    return replace(
        PARAMETERS,
        step_us=scaled(PARAMETERS.step_us),
        window_us=scaled(PARAMETERS.window_us),
        incident_window_us=scaled(PARAMETERS.incident_window_us),
        fade_halflife_us=scaled(PARAMETERS.fade_halflife_us),
        excluded_us=scaled(PARAMETERS.excluded_us),
        change_halflife_us=scaled(PARAMETERS.change_halflife_us),
    )


def cause_settings(settings: WorkerSettings, contract: Contract | None) -> CauseSettings:
    """Return how evidence of causes is looked for."""
    return CauseSettings(
        cause_parameters(settings),
        series_max=settings.cause_series_max,
        operations_max=settings.cause_operations_max,
        contract_version=contract.version if contract is not None else "",
    )


def graph_of(contract: Contract | None, topology: Topology) -> Pipeline:
    """Return the pipeline's graph with the components of its stages."""
    if contract is None:
        return Pipeline(topology)
    components = {
        Place(flow_id, stage.id): stage.component
        for flow_id, flow in contract.flows.items()
        for stage in flow.stages
    }
    return Pipeline(topology, components)
