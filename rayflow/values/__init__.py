"""What data is: its hash, its bytes, its reference. Never: tasks, jobs, clusters."""
