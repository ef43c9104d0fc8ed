"""The shipped rules. A site file changes them by name."""

from models.events.definition import ANY_ZONE, RuleDefinition

_HAND_RAISED = "(left_wrist_y < nose_y OR right_wrist_y < nose_y) AND coalesce(trunk_angle_deg, 0) < 60"
# Body lengths that the shoulders and the hips sink within some seconds, together; highest of the last three seconds.
_SINKS = """highest(coalesce((shoulder_y - lowest(shoulder_y, {0})) / body_length_px, 0)
            + coalesce((hip_y - lowest(hip_y, {0})) / body_length_px, 0), 3)"""
_HIPS_SINK = "highest((hip_y - lowest(hip_y, 1)) / body_length_px, 3)"
# docs/decisions/167 has the measurements.
_FALLS = f"""
            NOT seen AND highest(box_top + box_height, 3) < 0.95 AND {_SINKS.format(0.5)} >= 0.22
            OR {_SINKS.format(1)} >= 0.16 AND (
                box_width * picture_width_px >= 1.1 * box_height * picture_height_px AND {_HIPS_SINK} >= 0.05
                OR hip_y - shoulder_y <= 0.15 * highest(body_length_px, 3) AND {_HIPS_SINK} >= 0.15)"""

SHIPPED = (
    RuleDefinition(
        rule="fall",
        meaning="The trunk sinks fast; then somebody lies, or is out of sight, for a second. Not on a bed or a sofa.",
        when=_FALLS,
        score=f"{_SINKS.format(1)} / 2",
        min_duration_s=1.0,
        bridge_gap_s=0.3,
        cool_down_s=60.0,
        severity="critical",
        not_zone_kinds=("bed", "sofa"),
    ),
    RuleDefinition(
        rule="lying",
        meaning="Somebody lies for ten seconds or more, not on a bed or a sofa.",
        when="trunk_angle_deg > 60",
        score="trunk_angle_deg",
        min_duration_s=10.0,
        bridge_gap_s=2.0,
        severity="warning",
        not_zone_kinds=("bed", "sofa"),
    ),
    RuleDefinition(
        rule="hand_raised",
        meaning="Somebody who does not lie holds a wrist above the nose.",
        when=_HAND_RAISED,
        min_duration_s=0.4,
        bridge_gap_s=1.0,
    ),
    RuleDefinition(
        rule="running",
        meaning="Somebody moves faster than one and a half body lengths per second.",
        when="speed_body_lengths_per_s > 1.5 AND NOT filled",
        score="speed_body_lengths_per_s",
        min_duration_s=1.0,
        bridge_gap_s=0.5,
    ),
    RuleDefinition(
        rule="crowd",
        meaning="Five people or more are in view.",
        rows="frames",
        when="people >= 5",
        score="people",
        min_duration_s=5.0,
        bridge_gap_s=2.0,
    ),
    RuleDefinition(
        rule="absence_longer_than",
        meaning="Nobody is in view for an hour or more.",
        rows="frames",
        when="people = 0",
        min_duration_s=3600.0,
    ),
    RuleDefinition(
        rule="loitering",
        meaning="Somebody stays in a zone for a minute or more.",
        when="seen",
        min_duration_s=60.0,
        bridge_gap_s=5.0,
        severity="warning",
        zones=(ANY_ZONE,),
    ),
)
