"""What may be done, by whom: functions of a session and an actor that refuse by raising."""
