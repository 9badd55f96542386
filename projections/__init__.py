"""Pure folds of the log into views."""
