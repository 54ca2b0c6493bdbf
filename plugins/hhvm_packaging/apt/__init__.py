"""The apt publisher: indices, signatures, and the commit that makes both public."""
