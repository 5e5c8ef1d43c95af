"""The base of every settings model, and the fields that several of them share."""
