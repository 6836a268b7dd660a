"""Names that columns and files of recordings have: sensors, axes, times, units, labels, devices."""

from __future__ import annotations

from collections.abc import Sequence

from harexport.preprocessing.stream import ACC, GYRO

LINEAR, GRAVITY = "linear acceleration", "gravity"
# Lower-case names without spaces and punctuation, in order of preference.
SENSOR_NAMES = {
    ACC: (
        "totalacceleration", "totalacc", "accelerationincludinggravity", "acceleration", "acc", "accel",
        "accelerometer", "accelerometeracceleration", "gforce", "gf", "accelerometeruncalibrated", "accelerations", "a",
    ),
    LINEAR: (
        "linearacceleration", "linearacc", "linacc", "linearaccelerometer", "useracceleration", "useracc",
        "motionuseracceleration", "bodyacc", "accelerationwithoutg",
    ),
    GRAVITY: ("gravity", "motiongravity", "grav"),
    GYRO: (
        "gyroscope", "gyro", "gyr", "rotationrate", "motionrotationrate", "gyrorotation", "gyroscoperotation",
        "angularvelocity", "angvel", "angularrate", "gyroscopeuncalibrated", "g", "w",
    ),
}  # fmt: skip
_PREFIXES = ("imu", "raw", "phone", "sensor", "mpu", "calibrated", "android", "lsm", "bmi")
# Names of iOS (CoreMotion), and of SensorLog there: at rest the axis that points up is negative.
APPLE_NAMES = "the accelerations have names that iOS uses"
APPLE_SENSORS = ("useracceleration", "motionuseracceleration", "accelerometeracceleration")
# "gx" is a gyroscope beside accelerations only; "a" and "w" are common in short loggers.
SHORT_NAMES = ("a", "g", "w")
_UNITS = {
    "m/s2": (
        "m/s2", "m/s^2", "m/s²", "ms2", "m_s2", "mps2", "ms-2", "m/s/s", "ms^-2", "mss", "m/sec2", "m/sec^2", "m/s**2",
        "m/(s^2)", "m/(s2)", "m s-2", "m s^-2", "meters per second squared", "metres per second squared",
    ),
    "mg": ("mg", "milli-g", "millig"),
    "g": ("g", "gs", "g's", "g-force", "gforce"),
    "rad/s": ("rad/s", "rad_s", "rads", "radps", "rps", "rad/sec", "rad s-1", "radians/s", "radians per second"),
    "mdps": ("mdps", "mdeg/s", "millidps"),
    "deg/s": (
        "deg/s", "deg_s", "degs", "dps", "°/s", "degps", "deg/sec", "°/sec", "degrees/s", "degrees per second",
    ),
    "min": ("min", "minutes"),
    "s": ("s", "sec", "secs", "seconds", "second"),
    "ms": ("ms", "msec", "millis", "milliseconds", "millisecond"),
    "us": ("us", "µs", "usec", "micros", "microseconds"),
    "ns": ("ns", "nsec", "nanos", "nanoseconds"),
}  # fmt: skip
UNIT_SPELLINGS = {spelling: unit for unit, spellings in _UNITS.items() for spelling in spellings}
TIME_UNITS = ("s", "ms", "us", "ns", "min")
# In order of preference: Sensor Logger has two. Names with a unit in them follow.
_TIMES = (
    "secondselapsed", "timestamp", "time", "t", "elapsed", "elapsedtime", "timesincestart", "timesincebeginning",
    "epoch", "epoc", "unixtime", "unixtimestamp", "datetime", "dateandtime", "loggingtime", "sampletime",
    "timestampunix", "systemtime", "localtime", "yyyymoddhhmisssss", "clock", "timeofday", "date",
)  # fmt: skip
# Names that are only a unit: the time, or a part of it beside a date or a time of day.
UNIT_TIMES = {name: unit for unit in ("ms", "us", "ns") for name in _UNITS[unit]}
SECOND_NAMES = _UNITS["s"][1:]
LABEL_NAMES = ("label", "activity", "class", "labels", "activitylabel")
SUBJECT_NAMES = ("subject", "subjectid", "participant", "person", "user")
KIND_NAMES = ("sensor", "sensorname", "sensortype")  # of a column that names the sensor of each row
_ANDROID_TYPES = {"1": ACC, "4": GYRO, "9": GRAVITY, "10": LINEAR}  # android.hardware.Sensor.TYPE_...
_DEVICES = {"wrist": "watch", "watch": "watch", "headphone": "headphones", "airpods": "headphones"}


def time_rank(base: str) -> int | None:
    """Return the rank of a name (without unit) among the names of times; None: it is not one."""
    name = compact(base)
    name = next((name.removesuffix(end) for end in ("unix", "utc", "in") if name.endswith(end) and name != end), name)
    return _TIMES.index(name) if name in _TIMES else None


def kind_of_row(text: str) -> str | None:
    """Return the sensor that a cell names: ACC, LINEAR, GRAVITY, GYRO or None."""
    text = text.strip()
    if "uncalibrated" in text.lower():
        return None
    return _ANDROID_TYPES.get(text) or sensor_of_stem(text)


def classify_column(name: str) -> tuple[str | None, str | None]:
    """Return what a column is by its name ("time", "label", "subject", a sensor, or None) and the unit in the name."""
    base, unit = split_unit(name)
    if time_rank(base) is not None:
        return "time", unit
    if compact(name) in LABEL_NAMES:
        return "label", None
    if compact(name) in SUBJECT_NAMES:
        return "subject", None
    sensor, axis = axis_name(base)
    return (kind_of(sensor) if axis else None), unit


def axis_name(base: str) -> tuple[str, str | None]:
    """Split a name into sensor and axis: acc_x, AccX, x-axis, X, accelerometerAccelerationX; axis None: it has none."""
    name = compact(base)
    if len(name) > 60 or not name:
        return "", None
    if name in ("x", "y", "z"):
        return "", name
    if name in ("xaxis", "yaxis", "zaxis", "axisx", "axisy", "axisz"):
        return "", name.replace("axis", "")
    if name.endswith("axis") and name[-5] in "xyz":  # acceleration x-axis
        return name[:-5], name[-5]
    if name[-1] in "xyz":
        return name[:-1], name[-1]
    if name[0] in "xyz" and kind_of(name[1:]) is not None:  # xAcc
        return name[1:], name[0]
    return name, None


def kind_of(sensor: str) -> str | None:
    """Return the sensor of a compact name: ACC, LINEAR, GRAVITY, GYRO or None."""
    rest = sensor
    while True:
        kind = next((kind for kind, names in SENSOR_NAMES.items() if rest in names), None)
        if kind is not None and (rest == sensor or rest not in SHORT_NAMES):
            return kind
        prefix = next((prefix for prefix in _PREFIXES if rest.startswith(prefix)), None)
        if prefix is None:
            return None
        rest = rest.removeprefix(prefix)  # android.sensor.accelerometer.x has two


def sensor_of_stem(stem: str) -> str | None:
    """Return the sensor in a file's name, if any."""
    words = [compact(word) for word in _words(stem)]
    joined = compact(stem)
    for kind in (LINEAR, GRAVITY, ACC, GYRO):
        names = [name for name in SENSOR_NAMES[kind] if name not in SHORT_NAMES]
        if joined in names or any(word in names for word in words):
            return kind
    return next(
        (kind for kind in (LINEAR, ACC, GYRO) for name in SENSOR_NAMES[kind] if len(name) > 5 and name in joined), None
    )


def stem_without_sensor(stem: str) -> str:
    """Return a file's name without the name of a sensor: files of one recording share it."""
    known = {name for names in SENSOR_NAMES.values() for name in names if name not in SHORT_NAMES} | {
        "uncalibrated",
        "raw",
    }
    joined = compact(stem)
    for name in sorted(known, key=len, reverse=True):
        if len(name) > 5 and name in joined:
            return joined.replace(name, "").removesuffix("uncalibrated").removesuffix("raw")
    return "".join(word for word in map(compact, _words(stem)) if word not in known)


def device_of_stem(stem: str) -> str:
    """Return the device that a file's name names: phone, watch or headphones."""
    name = compact(stem)
    return next((device for prefix, device in _DEVICES.items() if name.startswith(prefix)), "phone")


def _words(stem: str) -> list[str]:
    return [word for word in "".join(c if c.isalnum() else " " for c in stem).split() if word]


def split_unit(name: str) -> tuple[str, str | None]:
    """Split a column's name into name and unit: "Time (s)", "acc_x_m/s2", "timestamp_ns", "Time since start in ms"."""
    name = name.strip()[:200]
    for opening, closing in ("()", "[]"):
        start = name.find(opening)
        if start > 0 and name.endswith(closing):
            text = name[start + 1 : -1].strip().lower()
            return name[:start].rstrip(), UNIT_SPELLINGS.get(text, text or None)
    lower = name.lower()
    for spelling, unit in UNIT_SPELLINGS.items():
        for separator in ("_", " ", "-"):
            if lower.endswith(separator + spelling) and len(lower) > len(spelling) + 1:
                return name[: -len(spelling) - 1].rstrip(), unit
    return name, None


def compact(name: str) -> str:
    """Return a name in lower case without spaces and punctuation."""
    return "".join(c for c in name.lower() if c.isalnum())


def normalize_label(label: str) -> str:
    """Return a label in upper case with underscores, so that its spellings are equal."""
    return label.strip().upper().replace(" ", "_").replace("-", "_")


def list_names(names: Sequence[str]) -> str:
    """List names of columns or labels for messages."""
    shown = ", ".join(name[:60] for name in names[:40])
    return shown + (f" and {len(names) - 40} more" if len(names) > 40 else "")
