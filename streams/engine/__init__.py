"""The order of the stages: pure steps from state and input to effects."""
