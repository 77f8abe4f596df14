"""Small helpers that write MJCF elements."""

from __future__ import annotations


def tag(name: str, /, *children: str, **attributes: object) -> str:
    """One XML element; a trailing underscore frees a keyword of Python, as in `class_`."""
    text = "".join(f' {key.rstrip("_")}="{value}"' for key, value in attributes.items())
    return f"<{name}{text}>{''.join(children)}</{name}>" if children else f"<{name}{text}/>"


def inertial(mass: float, inertia: float, height: float = 0.0) -> str:
    """Mass in kg and inertia in kg m^2, alike about all axes, at a height in m above the frame."""
    return tag(
        "inertial", pos=f"0 0 {height}", mass=mass, diaginertia=f"{inertia} {inertia} {inertia}"
    )


def box(
    x: float, y: float, z: float, size: tuple[float, float, float], **attributes: object
) -> str:
    """A box that touches things, centre and half sizes in m."""
    return tag(
        "geom",
        class_="solid",
        type="box",
        pos=f"{x} {y} {z}",
        size=f"{size[0]} {size[1]} {size[2]}",
        **attributes,
    )
