"""PostgreSQL and Valkey for a machine that has none: found, started, supervised and stopped by us (ADR 2).

`place` decides where things live, `processes` knows how to start and end them, `postgres` and `valkey` know their
server, `stores` starts both once for everybody who shares a DATA_DIR, `supervision` keeps things running.
"""
