package org.harexport.core

/** 1 g in m/s2, exact by definition. */
const val STANDARD_GRAVITY: Double = 9.80665

/**
 * A sensor with three axes.
 *
 * [title] is its name in files and sentences, [units] are the units its samples may be in: what a number in that unit is
 * divided by, to be in g or rad/s.
 */
enum class Sensor(val title: String, val units: Map<String, Double>) {
    ACCELEROMETER("accelerometer", mapOf("g" to 1.0, "m/s2" to STANDARD_GRAVITY)),
    GYROSCOPE("gyroscope", mapOf("rad/s" to 1.0, "deg/s" to 180.0 / Math.PI)),
    ;

    companion object {
        /** What Android's sensors report in. */
        val ANDROID_UNITS: Map<Sensor, String> = mapOf(ACCELEROMETER to "m/s2", GYROSCOPE to "rad/s")

        /** The sensor of that [title]. Throws [BadInput] where there is none. */
        fun named(title: String): Sensor =
            values().firstOrNull { it.title == title }
                ?: throw BadInput("'$title' is no sensor; choose one of ${values().joinToString { it.title }}")
    }
}

/** What a number in [unit] is divided by, to be in g or rad/s. Throws [BadInput] for a unit that does not exist. */
fun divisorOf(sensor: Sensor, unit: String): Double =
    sensor.units[unit]
        ?: throw BadInput("the ${sensor.title} is said to be in '$unit'; choose one of ${sensor.units.keys.joinToString()}")

/** The three axes of a sample as doubles, from Android's `SensorEvent.values`. */
fun axes(values: FloatArray): DoubleArray = doubleArrayOf(values[0].toDouble(), values[1].toDouble(), values[2].toDouble())
