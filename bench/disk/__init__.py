"""``annlib bench --disk``: indexes on disk, searched with a share of the vectors' bytes in memory."""
