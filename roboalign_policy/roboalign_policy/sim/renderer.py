"""Pictures through MuJoCo's offscreen renderer: one OpenGL context a process serves all scenes."""

from __future__ import annotations

import atexit
import threading

import mujoco
import numpy as np

from roboalign_policy.sim.model import IMAGE_SIZE, make_model


class Renderer:
    """Draws any copy of the tabletop model, flat (no shadows, no reflections, no multisampling).

    The context belongs to the thread that made it: OpenGL has no other way.

    Raises:
        RuntimeError: no OpenGL context could be made, with the setting to change.
    """

    def __init__(self) -> None:
        model = make_model()
        try:
            # Here and not above, so that physics alone works where nothing can be drawn.
            from mujoco.gl_context import GLContext

            self._gl = GLContext(IMAGE_SIZE, IMAGE_SIZE)
            self._gl.make_current()
        except Exception as error:
            raise RuntimeError(
                f"MuJoCo cannot make an off-screen OpenGL context: {error}. Install Mesa's EGL "
                "(Debian, Ubuntu: apt install libegl1 libgl1-mesa-dri), or set MUJOCO_GL=osmesa "
                "(apt install libosmesa6)"
            ) from error
        self._context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100.value)
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=100)
        for flag in ("SHADOW", "REFLECTION", "SKYBOX", "FOG", "HAZE"):
            self._scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = 0
        self._options = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._camera.type = mujoco.mjtCamera.mjCAMERA_FIXED
        self._rectangle = mujoco.MjrRect(0, 0, IMAGE_SIZE, IMAGE_SIZE)
        self._thread = threading.get_ident()

    def close(self) -> None:
        """Gives the context back; nothing can be drawn after it."""
        self._context.free()
        self._gl.free()

    def render(self, model: mujoco.MjModel, data: mujoco.MjData, camera: str) -> np.ndarray:
        """The picture of one camera.

        Args:
            model: a copy of the tabletop model with the colours to draw.
            data: its state; positions of geoms and cameras up to date (`mj_forward`, or
                `mj_kinematics` and `mj_camlight`).
            camera: name of a camera in the model, `front` or `wrist`.

        Returns:
            (128, 128, 3) uint8 rgb, first row at the top.

        Raises:
            KeyError: the model has no such camera.
            RuntimeError: called from another thread than the one that made the renderer.
        """
        if threading.get_ident() != self._thread:
            raise RuntimeError(
                "the renderer belongs to the thread that drew the first picture of this process"
            )
        self._camera.fixedcamid = model.camera(camera).id
        mujoco.mjv_updateScene(
            model,
            data,
            self._options,
            None,
            self._camera,
            mujoco.mjtCatBit.mjCAT_ALL.value,
            self._scene,
        )
        self._gl.make_current()  # another library of this process may have drawn in between
        pixels = np.empty((IMAGE_SIZE, IMAGE_SIZE, 3), dtype=np.uint8)
        mujoco.mjr_render(self._rectangle, self._scene, self._context)
        mujoco.mjr_readPixels(pixels, None, self._rectangle, self._context)
        return np.ascontiguousarray(pixels[::-1])


_renderer: Renderer | None = None


def shared_renderer() -> Renderer:
    """The renderer of this process, made at the first call and kept to the end."""
    global _renderer
    if _renderer is None:
        _renderer = Renderer()
        # While the interpreter still stands: OpenGL's own clean-up fails once modules are gone.
        atexit.register(_renderer.close)
    return _renderer
