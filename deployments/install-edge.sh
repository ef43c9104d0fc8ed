#!/bin/sh
# Makes the environment of a worker, pinned by its lock: deployments/install-edge.sh cpu|stick [PYTHON] [FOLDER]
#   cpu    Python 3.11, today's OpenVINO            -> .venv-edge-cpu
#   stick  Python 3.10, OpenVINO of Intel's archive -> .venv-edge-stick
# Neither holds TensorFlow. Run again after an update: what is already right is not fetched again.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
kind=${1:-}
case $kind in
    cpu) version=3.11 ;;
    stick) version=3.10 ;;
    *) echo "usage: deployments/install-edge.sh cpu|stick [PYTHON] [FOLDER]" >&2; exit 2 ;;
esac
python=${2:-python$version}
folder=${3:-$root/.venv-edge-$kind}

found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null) || found=none
if [ "$found" != "$version" ]; then
    echo "Found Python $found at $python, expected $version: deployments/install-edge.sh $kind /path/to/python$version" >&2
    exit 1
fi
"$python" -m venv "$folder" || { echo "$python -m venv failed: on Debian install python3-venv" >&2; exit 1; }
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$root/deployments/locks/bootstrap.lock"
# Byte code now, by whoever may write here: the worker's own user need not.
export UV_COMPILE_BYTECODE="${UV_COMPILE_BYTECODE:-1}" VIRTUAL_ENV="$folder"
"$folder/bin/uv" pip install --quiet --require-hashes -r "$root/deployments/locks/edge-$kind.lock"

# What `pip install -e` leaves, a path and a version, by hand: pip would want what pyproject.toml lists, Python 3.11 and
# TensorFlow, which are the central machine's. The path serves every process: the sandbox's and Prefect's children too.
packages=$folder/lib/python$version/site-packages
nightjar=$(sed -n 's/^version = "\(.*\)"/\1/p' "$root/pyproject.toml")
echo "$root" > "$packages/nightjar.pth"
rm -rf "$packages"/nightjar-*.dist-info
about=$packages/nightjar-$nightjar.dist-info
mkdir "$about"
printf 'Metadata-Version: 2.1\nName: nightjar\nVersion: %s\n' "$nightjar" > "$about/METADATA"
printf 'Wheel-Version: 1.0\nGenerator: install-edge.sh\nRoot-Is-Purelib: true\nTag: py3-none-any\n' > "$about/WHEEL"
cat > "$folder/bin/nightjar" <<COMMAND
#!/bin/bash
# Intel's OpenVINO is found by the variables of its setupvars.sh, which asks the first python3 on the PATH.
export PATH="$folder/bin:\$PATH"
setupvars=\${NIGHTJAR_SETUPVARS:-/opt/intel/openvino_2022/setupvars.sh}
if [ "$kind" = stick ] && [ -f "\$setupvars" ]; then source "\$setupvars" > /dev/null; fi
exec "$folder/bin/python" -m deployments.cli "\$@"
COMMAND
chmod +x "$folder/bin/nightjar"
echo "$folder/bin/nightjar worker --pool edge --device $([ "$kind" = stick ] && echo MYRIAD || echo CPU)"
