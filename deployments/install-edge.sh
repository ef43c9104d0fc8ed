#!/bin/sh
# Create the environment of a worker, pinned by its lock: deployments/install-edge.sh cpu|stick [PYTHON] [FOLDER]
#   cpu    Python 3.11, current OpenVINO            -> .venv-edge-cpu
#   stick  Python 3.10, OpenVINO of Intel's archive -> .venv-edge-stick
# Neither contains TensorFlow. Run it again after an update: packages that are up to date are not fetched again.
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
    echo "$python is Python $found, and $version is needed. Run deployments/install-edge.sh $kind /path/to/python$version" >&2
    exit 1
fi
"$python" -m venv "$folder" || { echo "$python -m venv failed. On Debian, install python3-venv." >&2; exit 1; }
"$folder/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes -r "$root/deployments/locks/bootstrap.lock"
# Compile byte code now: the worker's own user may have no right to write here.
export UV_COMPILE_BYTECODE="${UV_COMPILE_BYTECODE:-1}" VIRTUAL_ENV="$folder"
"$folder/bin/uv" pip install --quiet --require-hashes -r "$root/deployments/locks/edge-$kind.lock"

# Write the path and the version by hand, as `pip install -e` would: pip would also require Python 3.11 and TensorFlow,
# which only the central machine needs. The path applies to every process, with the sandbox's and Prefect's children.
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
# setupvars.sh sets the variables for Intel's OpenVINO, for the first python3 on the PATH.
export PATH="$folder/bin:\$PATH"
setupvars=\${NIGHTJAR_SETUPVARS:-/opt/intel/openvino_2022/setupvars.sh}
if [ "$kind" = stick ] && [ -f "\$setupvars" ]; then source "\$setupvars" > /dev/null; fi
exec "$folder/bin/python" -m deployments.cli "\$@"
COMMAND
chmod +x "$folder/bin/nightjar"
echo "$folder/bin/nightjar worker --pool edge --device $([ "$kind" = stick ] && echo MYRIAD || echo CPU)"
