"""Events on their way to somewhere that may be away: kept in order, on disk, until they were taken."""
