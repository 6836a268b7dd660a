package org.harexport.core

/** Standard gravity in m/s2. */
const val STANDARD_GRAVITY: Double = 9.80665

/**
 * A sensor with three axes.
 *
 * @property title name in files and messages
 * @property units supported units, each with the divisor that converts a value to g or rad/s
 */
enum class Sensor(val title: String, val units: Map<String, Double>) {
    ACCELEROMETER("accelerometer", mapOf("g" to 1.0, "m/s2" to STANDARD_GRAVITY)),
    GYROSCOPE("gyroscope", mapOf("rad/s" to 1.0, "deg/s" to 180.0 / Math.PI)),
    ;

    companion object {
        /** Units of Android's sensors. */
        val ANDROID_UNITS: Map<Sensor, String> = mapOf(ACCELEROMETER to "m/s2", GYROSCOPE to "rad/s")

        /** Returns the sensor with that [title]. Throws [InputException] for an unknown one. */
        fun fromTitle(title: String): Sensor =
            values().firstOrNull { it.title == title }
                ?: throw InputException("unknown sensor '$title'; supported are ${values().joinToString { it.title }}")
    }
}

/** Returns the divisor that converts [unit] to g or rad/s. Throws [InputException] for an unknown unit. */
fun divisorOf(sensor: Sensor, unit: String): Double =
    sensor.units[unit]
        ?: throw InputException("unknown unit '$unit' of the ${sensor.title}; supported are ${sensor.units.keys.joinToString()}")

/** Converts the first three of Android's `SensorEvent.values` to doubles. */
fun axes(values: FloatArray): DoubleArray = doubleArrayOf(values[0].toDouble(), values[1].toDouble(), values[2].toDouble())
