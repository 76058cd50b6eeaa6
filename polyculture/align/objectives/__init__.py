"""The objectives: functions of log-probabilities, one method or one tight family a file; see align.METHODS."""
