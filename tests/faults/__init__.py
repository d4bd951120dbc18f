"""Whatever goes wrong, and whenever: no money twice, none lost, none that was not agreed on. See docs/faults.md."""
