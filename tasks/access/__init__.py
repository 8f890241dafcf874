"""Who may do what: roles, abilities, tokens and passwords."""
