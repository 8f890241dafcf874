"""Segment rules: what they may say, how they are read, and what their words mean. Pure: no I/O, no SQL.

A rule is a JSON tree of `all`, `any` and `not` over conditions. `reading.py` turns it into the values of `rules.py`, or says where
it is wrong; `db/queries/conditions.py` turns those into SQL. The words stand in the tables of `words.py`, from which the published
JSON schema and the documentation are made too.
"""
