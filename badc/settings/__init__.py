"""What every settings model is, and the fields that several of them share."""
