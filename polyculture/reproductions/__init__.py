"""One module a paper: ``reproduce(scale, seed)`` measures its central claim and the control that must break it."""
