"""Training by several processes: the group, the launcher, the workers."""
