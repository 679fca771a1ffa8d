"""What notebooks show: progress in one bar, and runs, reports and translations as HTML."""
