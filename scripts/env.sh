# Puts the workspace into a bash shell: `source scripts/env.sh` after `make setup` (and again after the first build).
#
# Sets up the virtual environment, ROS 2 (from /opt/ros or from the wheels, as set-up found it),
# what colcon built, the Fast DDS profile, off-screen rendering, and folders for caches and logs
# inside the checkout. Sourcing it again is harmless; of the variables at its end, those that are
# set already are left alone, but for ROBOALIGN_ROOT, which is always the folder of this checkout.

if [ -z "${BASH_VERSION:-}" ]; then
    echo "scripts/env.sh: this shell is not bash; start bash and source it there" >&2
    return 1
fi

_roboalign_env() {
    local root venv choices
    root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) || return 1
    venv=$root/.venv
    choices=$venv/roboalign.env  # written by scripts/setup_workspace.py: ROBOALIGN_ROS, ROBOALIGN_GL
    if [ ! -f "$choices" ]; then
        echo "scripts/env.sh: $venv is missing or incomplete; run 'make setup' in $root" >&2
        return 1
    fi
    local ROBOALIGN_ROS ROBOALIGN_GL
    . "$choices"

    if [ "$ROBOALIGN_ROS" != wheels ]; then
        . "$ROBOALIGN_ROS/setup.bash" || return 1
        . "$venv/bin/activate"
    else
        case ":${AMENT_PREFIX_PATH:-}:${PYTHONPATH:-}:" in
            *:/opt/ros/*)
                echo "scripts/env.sh: another ROS (${ROS_DISTRO:-unknown}) is sourced in this shell, and" \
                     "this workspace uses ROS 2 Jazzy from wheels; open a shell without it" >&2
                return 1 ;;
        esac
        . "$venv/bin/activate"
        export AMENT_PREFIX_PATH=$venv CMAKE_PREFIX_PATH=$venv
        export ROS_VERSION=2 ROS_PYTHON_VERSION=3 ROS_DISTRO=jazzy
        # What the wheels' start-up hook sets by running Python a second time; done here, start-up
        # takes half as long.
        local libs
        for libs in "$venv"/lib/python3.*/site-packages/ros_*.libs "$venv/lib"; do
            case ":${LD_LIBRARY_PATH:-}:" in
                *":$libs:"*) ;;
                *) LD_LIBRARY_PATH=$libs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} ;;
            esac
        done
        export LD_LIBRARY_PATH _ROS_WHEELS_BOOTSTRAP_COMPLETE=1
    fi
    if [ -f "$root/install/local_setup.bash" ]; then
        . "$root/install/local_setup.bash"
    fi

    # So that commands of the documents work from any folder.
    export ROBOALIGN_ROOT=$root

    # Fast DDS 2 (Jazzy) reads the first name, Fast DDS 3 (newer distributions) the second.
    local profile=$root/roboalign_policy/config/fastdds_profile.xml
    export FASTRTPS_DEFAULT_PROFILES_FILE=${FASTRTPS_DEFAULT_PROFILES_FILE:-$profile}
    export FASTDDS_DEFAULT_PROFILES_FILE=${FASTDDS_DEFAULT_PROFILES_FILE:-$profile}
    export MUJOCO_GL=${MUJOCO_GL:-$ROBOALIGN_GL}
    export COLCON_DEFAULTS_FILE=${COLCON_DEFAULTS_FILE:-$root/scripts/colcon-defaults.yaml}
    # Without these, programs write below the home folder.
    export ROS_LOG_DIR=${ROS_LOG_DIR:-$root/.cache/ros}
    export COLCON_HOME=${COLCON_HOME:-$root/.cache/colcon}
    export HF_HOME=${HF_HOME:-$root/.cache/huggingface}
    export MPLCONFIGDIR=${MPLCONFIGDIR:-$root/.cache/matplotlib}
    export MESA_SHADER_CACHE_DIR=${MESA_SHADER_CACHE_DIR:-$root/.cache/mesa}
}

_roboalign_env
_roboalign_status=$?
unset -f _roboalign_env
return $_roboalign_status
