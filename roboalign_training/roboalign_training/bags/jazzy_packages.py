"""Message types of Jazzy's standard packages that the type store of `rosbags` lacks.

Only what decides about the bytes of a message: types and names of the fields, in their order.

Source: the interfaces of control_msgs 5.8, example_interfaces, turtlesim and vision_msgs 4.1 as
ROS 2 Jazzy releases them.
"""

from __future__ import annotations

_NUMBERS = {
    **{f"Int{bits}": f"int{bits}" for bits in (8, 16, 32, 64)},
    **{f"UInt{bits}": f"uint{bits}" for bits in (8, 16, 32, 64)},
    **{f"Float{bits}": f"float{bits}" for bits in (32, 64)},
    "Byte": "byte",
}
_EXAMPLES = {
    **{name: f"{kind} data" for name, kind in _NUMBERS.items()},
    **{
        f"{name}MultiArray": f"MultiArrayLayout layout; {kind}[] data"
        for name, kind in _NUMBERS.items()
    },
    "Bool": "bool data",
    "Char": "char data",
    "Empty": "",
    "MultiArrayDimension": "string label; uint32 size; uint32 stride",
    "MultiArrayLayout": "MultiArrayDimension[] dim; uint32 data_offset",
    "String": "string data",
}
_CONTROL = {
    "AdmittanceControllerState": (
        "std_msgs/Float64MultiArray mass; std_msgs/Float64MultiArray damping; "
        "std_msgs/Float64MultiArray stiffness; geometry_msgs/Quaternion rot_base_control; "
        "geometry_msgs/TransformStamped ref_trans_base_ft; std_msgs/Int8MultiArray "
        "selected_axes; std_msgs/String ft_sensor_frame; geometry_msgs/TransformStamped "
        "admittance_position; geometry_msgs/TwistStamped admittance_acceleration; "
        "geometry_msgs/TwistStamped admittance_velocity; geometry_msgs/WrenchStamped "
        "wrench_base; sensor_msgs/JointState joint_state"
    ),
    "BatteryStateArray": "sensor_msgs/BatteryState[] battery_states",
    "DynamicInterfaceGroupValues": (
        "std_msgs/Header header; string[] interface_groups; InterfaceValue[] interface_values"
    ),
    "DynamicInterfaceValues": (
        "std_msgs/Header header; InterfaceValue states; InterfaceValue commands"
    ),
    "DynamicJointState": (
        "std_msgs/Header header; string[] joint_names; InterfaceValue[] interface_values"
    ),
    "Float64Values": "std_msgs/Header header; float64[] values",
    "GripperCommand": "float64 position; float64 max_effort",
    "InterfaceValue": "string[] interface_names; float64[] values",
    "JointComponentTolerance": (
        "string joint_name; uint16 component; float64 position; float64 velocity; float64 "
        "acceleration"
    ),
    "JointControllerState": (
        "std_msgs/Header header; float64 set_point; float64 process_value; float64 "
        "process_value_dot; float64 error; float64 time_step; float64 command; float64 p; "
        "float64 i; float64 d; float64 i_clamp; bool antiwindup"
    ),
    "JointJog": (
        "std_msgs/Header header; string[] joint_names; float64[] displacements; float64[] "
        "velocities; float64 duration"
    ),
    "JointTolerance": "string name; float64 position; float64 velocity; float64 acceleration",
    "JointTrajectoryControllerState": (
        "std_msgs/Header header; string[] joint_names; trajectory_msgs/JointTrajectoryPoint "
        "reference; trajectory_msgs/JointTrajectoryPoint feedback; "
        "trajectory_msgs/JointTrajectoryPoint error; trajectory_msgs/JointTrajectoryPoint "
        "output; string[] multi_dof_joint_names; trajectory_msgs/MultiDOFJointTrajectoryPoint "
        "multi_dof_reference; trajectory_msgs/MultiDOFJointTrajectoryPoint "
        "multi_dof_feedback; trajectory_msgs/MultiDOFJointTrajectoryPoint multi_dof_error; "
        "trajectory_msgs/MultiDOFJointTrajectoryPoint multi_dof_output; float64 "
        "speed_scaling_factor"
    ),
    "Keys": "std_msgs/Header header; string[] keys",
    "MecanumDriveControllerState": (
        "std_msgs/Header header; float64 front_left_wheel_velocity; float64 "
        "back_left_wheel_velocity; float64 back_right_wheel_velocity; float64 "
        "front_right_wheel_velocity; geometry_msgs/Twist reference_velocity"
    ),
    "MotionArgument": "string name; float64 value",
    "MotionPrimitive": (
        "int8 type; float64 blend_radius; MotionArgument[] additional_arguments; "
        "geometry_msgs/PoseStamped[] poses; float64[] joint_positions"
    ),
    "MotionPrimitiveSequence": "MotionPrimitive[] motions",
    "MultiDOFCommand": "string[] dof_names; float64[] values; float64[] values_dot",
    "MultiDOFStateStamped": "std_msgs/Header header; SingleDOFState[] dof_states",
    "PidState": (
        "std_msgs/Header header; builtin_interfaces/Duration timestep; float64 error; float64 "
        "error_dot; float64 p_error; float64 i_error; float64 d_error; float64 p_term; "
        "float64 i_term; float64 d_term; float64 i_max; float64 i_min; float64 output"
    ),
    "SingleDOFState": (
        "string name; float64 reference; float64 feedback; float64 feedback_dot; float64 "
        "error; float64 error_dot; float64 time_step; float64 output"
    ),
    "SingleDOFStateStamped": "std_msgs/Header header; SingleDOFState dof_state",
    "SpeedScalingFactor": "float64 factor",
    "SteeringControllerStatus": (
        "std_msgs/Header header; float64[] traction_wheels_position; float64[] "
        "traction_wheels_velocity; float64[] steer_positions; float64[] "
        "linear_velocity_command; float64[] steering_angle_command"
    ),
    "VDA5050SafetyState": "string e_stop; bool field_violation",
}
_TURTLESIM = {
    "Color": "uint8 r; uint8 g; uint8 b",
    "Pose": (
        "float32 x; float32 y; float32 theta; float32 linear_velocity; float32 angular_velocity"
    ),
}
_VISION = {
    "BoundingBox2D": "Pose2D center; float64 size_x; float64 size_y",
    "BoundingBox2DArray": "std_msgs/Header header; BoundingBox2D[] boxes",
    "BoundingBox3D": "geometry_msgs/Pose center; geometry_msgs/Vector3 size",
    "BoundingBox3DArray": "std_msgs/Header header; BoundingBox3D[] boxes",
    "Classification": "std_msgs/Header header; ObjectHypothesis[] results",
    "Detection2D": (
        "std_msgs/Header header; ObjectHypothesisWithPose[] results; BoundingBox2D bbox; string id"
    ),
    "Detection2DArray": "std_msgs/Header header; Detection2D[] detections",
    "Detection3D": (
        "std_msgs/Header header; ObjectHypothesisWithPose[] results; BoundingBox3D bbox; string id"
    ),
    "Detection3DArray": "std_msgs/Header header; Detection3D[] detections",
    "LabelInfo": "std_msgs/Header header; VisionClass[] class_map; float32 threshold",
    "ObjectHypothesis": "string class_id; float64 score",
    "ObjectHypothesisWithPose": (
        "ObjectHypothesis hypothesis; geometry_msgs/PoseWithCovariance pose"
    ),
    "Point2D": "float64 x; float64 y",
    "Pose2D": "Point2D position; float64 theta",
    "VisionClass": "uint16 class_id; string class_name",
    "VisionInfo": (
        "std_msgs/Header header; string method; string database_location; int32 database_version"
    ),
}


_PACKAGES = {
    "control_msgs": _CONTROL,
    "example_interfaces": _EXAMPLES,
    "turtlesim": _TURTLESIM,
    "vision_msgs": _VISION,
}


def package_types(package: str) -> dict[str, str]:
    """Definitions by name of the types of a package, as `ros2msg` text; none of other packages."""
    return {
        f"{package}/msg/{name}": fields.replace("; ", "\n") + "\n"
        for name, fields in _PACKAGES.get(package, {}).items()
    }
