"""What redun's names are in rayflow, and what to do about those that have no counterpart."""

MODULES = frozenset(
    {
        "config", "context", "executors", "expression", "file", "functools", "handle", "hashing", "namespace",
        "scheduler", "scripting", "tags", "task", "tools", "utils", "value",
    }
)  # fmt: skip
"""Modules of redun's, all of which are `rayflow` here."""

RENAMED = {"PartialTask": "Task"}
"""Names that only have another name here."""

LOOK = {
    "scheduler_task": "write a rule with @form instead: see examples/11_own_form",
    "SchedulerTask": "write a rule with @form instead: see examples/11_own_form",
    "get_current_scheduler": "a body knows no scheduler; run() what it needs beside the workflow",
    "set_current_scheduler": "a body knows no scheduler; leave it out",
    "namespace": "set the variable rayflow_namespace of the module, or @task(namespace=...)",
    "get_current_namespace": "read the variable rayflow_namespace of the module",
    "CacheScope": "write the name as a text: cache_scope=\"CSE\"",
    "CacheCheckValid": "write the name as a text: check_valid=\"shallow\"",
    "IFile": "write File(path, immutable=True)",
    "IDir": "write Dir(path, immutable=True)",
    "IFileSet": "write a list of File(path, immutable=True)",
    "ContentDir": "write a list of ContentFile",
    "ContentFileSet": "write a list of ContentFile",
    "ShardedS3Dataset": "give Ray Data, or the task that reads, a Dir",
    "Staging": "a staged file is what file.stage(name) gives: for script(inputs=, outputs=)",
    "StagingFile": "a staged file is what file.stage(name) gives: for script(inputs=, outputs=)",
    "StagingDir": "a staged directory is what dir.stage(name) gives: for script(inputs=, outputs=)",
    "FileSystem": "any file system of fsspec's is known by its protocol",
    "eval_": "write apply_func(lambda x: ..., x)",
    "copy_file": "write a task that returns file.copy_to(path)",
    "copy_files": "write a task that returns file.copy_to(path), and starmap it",
    "copy_dir": "write a task that returns dir.copy_to(path)",
    "glob_file": "write [file.path for file in FileSet(pattern)]",
    "render_template": "write a task that renders it",
    "debug_task": "leave it out, and write rayflow run --pdb",
    "ProxyValue": "write a Handler, and register_handler(cls, handler)",
    "get_type_registry": "write a Handler, and register_handler(cls, handler)",
    "TypeRegistry": "write a Handler, and register_handler(cls, handler)",
    "InvalidValueError": "let is_valid return False",
    "hash_struct": "what a value is known by is told by its method identity, as plain data",
    "get_task_registry": "tasks are found by their names in their modules",
    "Expression": "the type of a call is that of its result: write that one",
    "TaskExpression": "the type of a call is that of its result: write that one",
    "SchedulerExpression": "the type of a call is that of its result: write that one",
    "SimpleExpression": "the type of a call is that of its result: write that one",
    "QuotedExpression": "the type of quote(x) is that of x: write that one",
    "ErrorValue": "a failure is the exception itself",
    "Traceback": "a failure's traceback is in its text, and in rayflow log JOB",
    "DryRunResult": "Scheduler().dry_run(expr) gives what would run",
    "ScriptError": "from rayflow.errors import ScriptFailed",
    "Config": "settings are in rayflow.toml, or arguments of Scheduler()",
    "Job": "ask history().sql(\"select ... from jobs\")",
    "Execution": "ask history().sql(\"select ... from executions\")",
    "register_executor": "there is one executor, Ray: write a [profiles.NAME] with what a call needs",
    "LocalExecutor": "there is one executor, Ray: write a [profiles.NAME] with what a call needs",
    "DockerExecutor": "write runtime_env={\"image_uri\": ...} in a [profiles.NAME]",
    "AWSBatchExecutor": "let Ray's autoscaler start the nodes, and write a [profiles.NAME] with what a call needs",
    "AWSGlueExecutor": "call Spark from the body of a task",
    "GCPBatchExecutor": "let Ray's autoscaler start the nodes, and write a [profiles.NAME] with what a call needs",
    "K8SExecutor": "let KubeRay start the nodes, and write a [profiles.NAME] with what a call needs",
    "AliasExecutor": "write the profile twice",
    "federated_task": "run the other project's command: script(\"rayflow run --json DIR/flow.py main --x 5\")",
    "lambda_federated_task": "call the service in the body of a task",
    "launch_federated_task": "start the other project's command where you call it from",
    "rest_federated_task": "call the service in the body of a task",
}
"""Names that mean something else here, or nothing, and what to do about them."""

METHODS = {
    "__handle__": "keep what you need of it in an attribute of your own class",
    "add_executor": "leave it out, and write a [profiles.NAME] in rayflow.toml with what a call needs",
    "update_hash": "leave it out: what a task returns is looked at when it ends",
    "task_name": "a lazy call is not taken apart: run() it, and compare what it gives",
}
"""Attributes of redun's objects that have no counterpart, and what to do."""

OF_EXECUTORS = {
    "vcpus": ("num_cpus", ""),
    "gpus": ("num_gpus", ""),
    "image": ("runtime_env", "Ray starts the image by podman: it has to have Ray and rayflow in it"),
    "shared_memory": ("", "leave it out: object memory is a setting of Ray's"),
    "interactive": ("", "leave it out, and write rayflow run --pdb"),
    "mode": ("", "leave it out: a call runs in a process of Ray's"),
    "batch_tags": ("", "leave it out: tag the nodes where they are started"),
    "job_name": ("", "leave it out: a call has its task's name in Ray's dashboard"),
    "queue": ("", "write label_selector={...}, which names the nodes"),
    "role": ("", "leave it out: nodes have their roles where they are started"),
    "code_package": ("", "write working_dir in [environment] of rayflow.toml"),
    "max_workers": ("", "write limits={...} with a capacity in rayflow.toml"),
    "job_def_extra": ("", "leave it out"),
    "volume_mounts": ("", "mount them on the nodes"),
    "volumes": ("", "mount them on the nodes"),
    "conda": ("", "write runtime_env={\"conda\": ...}: it has to have Ray and rayflow in it"),
    "conda_environment": ("", "write runtime_env = { conda = \"NAME\" }: it has to have Ray and rayflow in it"),
    "pip": ("", "write runtime_env={\"pip\": [...]}; beside conda, in the environment's own file"),
}
"""Options that belong to executors: their names here, and what else is to be done."""

OF_FORMS = {
    "subrun": {
        "config": "leave it out: the evaluation inside has the settings of the run around it",
        "config_dir": "leave it out: the evaluation inside has the settings of the run around it",
        "new_execution": "leave it out: calls inside are recorded in the execution around them",
        "load_modules": "-",
    },
    "wraps_task": {
        "wrapper_hash_includes": "=hash_includes",
        "wrapper_name": "-",
        "use_wrapper_signature": "-the signature is the wrapper's own, where that is not (*args, **kwargs)",
    },
}
"""Arguments of single forms: "=" gives the new name, "-" leaves it out (and says why), else it is for you to change."""

OF_FILES = {
    "copy_to": {"skip_if_exists": "leave it out, or ask exists() first: files that are there are replaced"},
    "rmdir": {"recursive": "write remove(), which deletes what is inside, too"},
}
"""Arguments of the methods of files and directories that have no counterpart, and what to do."""

OF_VALUES = {
    "get_hash": "call it identity, and return plain data that it is known by",
    "serialize": "call it encode, and return plain data",
    "deserialize": "call it decode: a class method that gets what encode has returned",
    "__getstate__": "call it encode, and return plain data",
    "__setstate__": "call it decode: a class method that returns a new object",
    "get_serialization_format": "leave it out",
    "preprocess": "call it prepare",
    "postprocess": "call it finish",
    "parse_arg": "call it parse",
    "iter_subvalues": "call it parts",
    "type_name": "leave it out: a class is known by its module and name",
    "type": "write a Handler, and register_handler(cls, handler)",
}
"""What the hooks of a value type are called here."""

OF_HANDLERS = {
    "type": "leave it out, derive from Handler, and write register_handler(THE_CLASS, THIS_CLASS()) below the class",
    "__init__": "leave it out: a Handler is made without arguments, and each hook gets the value",
    "is_valid": "it gets the value: is_valid(self, value)",
    "get_hash": "call it identity(self, value), and return plain data that the value is known by",
    "serialize": "call it encode(self, value), and return plain data",
    "deserialize": "call it decode(self, data, of): it gets what encode has returned",
    "__setstate__": "call it decode(self, data, of): it gets what encode has returned",
    "__getstate__": "call it encode(self, value), and return plain data",
    "preprocess": "call it prepare(self, value)",
    "postprocess": "call it finish(self, value)",
    "parse_arg": "call it parse(self, text, of)",
    "iter_subvalues": "call it parts(self, value)",
}
"""What the hooks of a value type for somebody else's class are called here, where they differ from those of a Value."""

FIXTURES = {
    "scheduler": (
        "the fixture is called rehearsal: write pytest_plugins = [\"rayflow.testing.fixtures\"] in conftest.py, and "
        "rehearsal for scheduler"
    ),
}
"""Fixtures of redun's for pytest, and what to do."""
