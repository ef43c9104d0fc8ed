"""Evaluations in SQL: one row per model version and protocol, and figures only with a ground truth."""

import dataclasses
import json

import pytest
from sqlalchemy import Engine

from storage.sql.catalogue import register_model
from storage.sql.database import DatabaseError
from storage.sql.evaluations import NOT_EVALUATED, Evaluation, comparable_accuracy, find_evaluation, record_evaluation
from storage.sql.query import query
from tests.storage.samples import make_model

ONE = Evaluation("p" * 64, "{}", "multi", 80, 86, 0.29, 0.09, 0.23, 0.07, 0.12, 0.59, 400.0, "CPU (test)", "f32")


def test_a_repeated_measurement_has_the_same_row(engine: Engine) -> None:
    model = register_model(engine, make_model())
    assert find_evaluation(engine, model, ONE.protocol_sha256) is None
    assert record_evaluation(engine, model, ONE) == ONE
    assert record_evaluation(engine, model, dataclasses.replace(ONE, ap=0.5)) == ONE
    assert find_evaluation(engine, model, ONE.protocol_sha256) == ONE
    assert list(query(engine, "SELECT count(*), max(ap) FROM evaluations")[1]) == [(1, 0.09)]


def test_another_protocol_or_model_is_another_row(engine: Engine) -> None:
    first, second = register_model(engine, make_model()), register_model(engine, make_model("9" * 64))
    single = dataclasses.replace(ONE, protocol_sha256="q" * 64, mode="single")
    for model, one in ((first, ONE), (second, ONE), (first, single)):
        record_evaluation(engine, model, one)
    assert list(query(engine, "SELECT count(*) FROM evaluations")[1]) == [(3,)]
    assert find_evaluation(engine, first, single.protocol_sha256) == single


def test_only_an_agreement_has_no_ap(engine: Engine) -> None:
    model = register_model(engine, make_model())
    nothing = {"ap": None, "ap50": None, "ap75": None, "ar": None, "pck": None}
    record_evaluation(engine, model, dataclasses.replace(ONE, mode="agreement", **nothing))
    for wrong in (dataclasses.replace(ONE, mode="agreement"), dataclasses.replace(ONE, **nothing)):
        with pytest.raises(DatabaseError):
            record_evaluation(engine, model, dataclasses.replace(wrong, protocol_sha256="w" * 64))


def test_only_evaluations_of_the_same_pictures_are_compared(engine: Engine) -> None:
    def held(version: str, pictures: str, ap: float, mode: str = "multi") -> None:
        protocol = json.dumps({"truth_sha256": "t", "images_sha256": pictures, "decoder": version})
        model = register_model(engine, make_model(version * 64))
        sha256 = f"{version}{pictures}{mode}".ljust(64, "0")
        record_evaluation(
            engine, model, dataclasses.replace(ONE, protocol=protocol, protocol_sha256=sha256, mode=mode, ap=ap)
        )

    assert comparable_accuracy(engine) == NOT_EVALUATED
    held("1", "old", 0.9)
    held("2", "new", 0.3)
    held("1", "new", 0.2)
    held("3", "other", 0.8, mode="single")
    found = comparable_accuracy(engine)
    assert found.ap == {"1" * 64: 0.2, "2" * 64: 0.3}
    assert (found.images, found.people, found.truth_sha256) == (80, 86, "t")
    assert {(one.model, one.mean_oks, one.device) for one in found.versions} == {("posenet-075", 0.29, "CPU (test)")}
