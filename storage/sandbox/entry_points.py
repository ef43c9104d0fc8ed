"""Functions that a sandboxed child may run: each reads a file from outside. The only place that names them.

The sandbox imports none of them: the child does, by these names. An entry is a module and a function at its top level.
"""

ENTRY_POINTS = frozenset(
    {
        ("storage.parquet", "result_record"),
        ("storage.video.probe", "begins_with"),
        ("storage.video.probe", "created_record"),
        ("storage.video.probe", "probe_record"),
        ("tasks.model.confined_conversion", "convert_in_child"),
        ("tasks.model.confined_conversion", "load_in_child"),
        ("tasks.segment.sandboxed", "converted_frames"),
        ("tasks.segment.sandboxed", "jpeg_of_frame"),
        ("tasks.segment.sandboxed", "picked_tensors"),
        ("tasks.segment.sandboxed", "playability_record"),
        ("tasks.segment.sandboxed", "region_tensors"),
        ("tasks.segment.sandboxed", "segment_tensors"),
        ("tasks.segment.sandboxed", "write_overlay"),
        ("tasks.segment.sandboxed", "write_picture"),
        ("tasks.segment.sandboxed", "write_still"),
    }
)
