# The settings of every node of a Ray cluster that rayflow uses. Source it in each shell that starts Ray or a driver:
#     . cluster/env.sh && ray start --head
# It is read by sh and bash. What was set before it is kept where that makes sense: the token, and the paths.
# The image of cluster/Dockerfile has the same settings built in, so a container does not need this file.

# --- the token: who has it can run code on the cluster ----------------------------------------------------------------

# Ray asks for a token on all its ports. `ray start` alone would ask only if this user has a token by chance.
export RAY_AUTH_MODE=token
if [ -z "${RAY_AUTH_TOKEN:-}" ]; then
    # One file, with the same content on all nodes. RAY_AUTH_TOKEN, with the token itself, wins over it.
    export RAY_AUTH_TOKEN_PATH="${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}"
    if [ ! -s "$RAY_AUTH_TOKEN_PATH" ]; then
        echo "env.sh: there is no token in $RAY_AUTH_TOKEN_PATH. Make one on one machine, with" >&2
        echo "    ray get-auth-token --generate" >&2
        echo "and copy the file to all others: nodes with different tokens do not find each other." >&2
        # shellcheck disable=SC2317  # `return` where it is sourced, `exit` where it is run
        return 1 2>/dev/null || exit 1
    fi
    # Ray writes the file so that every user of the machine can read it.
    if ! chmod 600 "$RAY_AUTH_TOKEN_PATH"; then
        echo "env.sh: $RAY_AUTH_TOKEN_PATH belongs to somebody else: see to it that only you can read it." >&2
    fi
fi

# --- a node that does not answer --------------------------------------------------------------------------------------

# By default Ray takes seven minutes to fail a call whose node is cut off without a word. With these two it takes under
# twenty seconds. They have to be equal on all nodes and in the driver: the control service refuses pings that come more
# often than it expects.
export RAY_grpc_client_keepalive_time_ms=10000
export RAY_grpc_client_keepalive_timeout_ms=5000

# How long a node waits for a head that restarts, before it gives up and ends. Ray's 60 s are too short for a machine
# that boots.
export RAY_gcs_rpc_server_reconnect_timeout_s=120

# --- the state of the head --------------------------------------------------------------------------------------------

# Without it a head that restarts has forgotten its nodes, actors and jobs. Set RAY_gcs_storage_path on the head alone,
# to a directory on a disk that outlives the head; the same `ray start --head --port=...` takes the state up again.
if [ -n "${RAY_gcs_storage_path:-}" ]; then
    export RAY_gcs_storage=rocksdb
    export RAY_gcs_storage_path
fi

# --- memory -----------------------------------------------------------------------------------------------------------

# The share of a node's memory at which Ray ends workers; rayflow tries their calls again. It is below Ray's 0.95, so that
# Ray is faster than the kernel, which may end Ray itself.
export RAY_memory_usage_threshold=0.9

# --- Python -----------------------------------------------------------------------------------------------------------

# Else a driver under `uv run` makes all workers run `uv`, too; where nodes have no `uv`, calls wait for ever.
export RAY_ENABLE_UV_RUN_RUNTIME_ENV=0
# Every helper of Ray and every worker is a new Python. Without compiled files each takes two to four times as long.
unset PYTHONDONTWRITEBYTECODE
# Nothing about the cluster is sent to anyone.
export RAY_USAGE_STATS_ENABLED=0

# --- the store --------------------------------------------------------------------------------------------------------

# Where results are kept: a URL, or a folder that all nodes share. The better place for it is `store` in the project's
# rayflow.toml: then the laptop and the cluster use one store, and what one has computed is cached for the other.
#     export RAYFLOW_STORE=s3://my-bucket/rayflow
