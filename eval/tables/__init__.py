"""The paper's tables with our numbers beside the paper's: pure functions of what was measured."""
