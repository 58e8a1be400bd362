"""Commands about networks that run no study."""
