"""What a component needs is checked for its names, in the line where it stands."""

import pytest

from streams.contract.loader import ContractError, parse_contract

TEXT = """version: "1"
name: shop
modules:
  SHOP:
    components:
      cart: {{needs: [{needed}]}}
  MAIL: {{}}
flows:
  order:
    entry: order
    stages:
      - {{id: order, module: SHOP, component: cart, name: shop.order}}
"""


@pytest.mark.parametrize(
    ("needed", "problem"),
    [
        ("MAIL", "'MAIL' is no component; write MODULE.component"),
        ("MAIL.", "'MAIL.' is no component; write MODULE.component"),
        ("MIAL.queue", "unknown module 'MIAL' in 'MIAL.queue'"),
        ("SHOP.cart", "'SHOP.cart' needs itself; remove it"),
    ],
)
def test_a_need_that_cannot_be_is_refused(needed: str, problem: str) -> None:
    """With its line and what to write instead."""
    with pytest.raises(ContractError) as refused:
        parse_contract(TEXT.format(needed=needed))
    assert problem in str(refused.value)
    assert "contract.yaml:6:" in str(refused.value)


def test_a_need_of_another_module_is_taken() -> None:
    """The component need not have a stage: a cache has none."""
    contract = parse_contract(TEXT.format(needed="MAIL.queue"))
    assert contract.modules["SHOP"].components["cart"].needs == ("MAIL.queue",)
