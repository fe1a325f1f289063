"""Starts an evaluation on a Ray cluster through its job API, and follows it from afar.

`project_files` says which files of a project are sent, `packages` makes one archive of them, `job_api` speaks with the
cluster, `job_requests` says what the job has to do, `bootstrap` runs there first, `frames` is what a job tells the one
who follows it, `following` reads that, `cancelling` ends an execution there. In: a command line, a project. Out: a Ray
job, and what it prints. Never: imports Ray, evaluates anything.
"""
