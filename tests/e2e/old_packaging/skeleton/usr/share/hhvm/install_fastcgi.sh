It was here before.
