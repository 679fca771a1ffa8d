"""The real-or-generated test with people: a page that asks them, and what their answers say."""
