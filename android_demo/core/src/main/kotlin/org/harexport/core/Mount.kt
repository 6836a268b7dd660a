package org.harexport.core

import kotlin.math.acos
import kotlin.math.sqrt

/**
 * A rotation of all sensor vectors from the axes of the phone to the frame of the model.
 *
 * At rest the accelerometer reads +1 g along the direction that points up; this direction is called gravity, as in the
 * data set. A model of the frame "gravity along +x" expects it along the x axis while the person stands or walks. The
 * rotation about the vertical axis (the heading) is arbitrary. Mirrors harexport/preprocessing/mount.py.
 *
 * @property matrix the rotation matrix, three rows of three values: v_model = matrix * v_phone
 */
class Mount(val matrix: List<DoubleArray>) {
    init {
        require(matrix.size == 3 && matrix.all { it.size == 3 }) { "a rotation matrix has three rows of three values" }
    }

    /** The rotation from the frame of the model back to the axes of the phone. */
    val inverse: Mount get() = Mount(List(3) { row -> DoubleArray(3) { column -> matrix[column][row] } })

    /** Angle between the phone's x axis and the vertical in degrees: 0 as worn in the data set, 180 upside down. */
    val tiltDegrees: Double get() = Math.toDegrees(acos(matrix[0][0].coerceIn(-1.0, 1.0)))

    /** Rotates one sample: x, y, z of one sensor after the other. */
    fun rotate(values: DoubleArray): DoubleArray {
        val rotated = DoubleArray(values.size)
        for (first in values.indices step 3) {
            for (row in 0..2) {
                val (a, b, c) = matrix[row]
                rotated[first + row] = a * values[first] + b * values[first + 1] + c * values[first + 2]
            }
        }
        return rotated
    }

    /** Returns the rotation that applies [other] first, then this one. */
    fun after(other: Mount): Mount =
        Mount(
            List(3) { row ->
                DoubleArray(3) { column -> (0..2).sumOf { matrix[row][it] * other.matrix[it][column] } }
            },
        )

    companion object {
        /** The phone's axes are those of the model. */
        val AS_IS: Mount = Mount(listOf(doubleArrayOf(1.0, 0.0, 0.0), doubleArrayOf(0.0, 1.0, 0.0), doubleArrayOf(0.0, 0.0, 1.0)))

        /** Cosine beyond which the shortest rotation is not unique. */
        private const val OPPOSITE = -0.999

        /**
         * Returns the shortest rotation that takes [gravity] to +x (Rodrigues' formula).
         *
         * Throws [InputException] for a vector without direction.
         *
         * @param gravity direction of gravity in the axes of the phone, of any length
         */
        fun fromGravity(gravity: DoubleArray): Mount {
            val (x, y, z) = unitVector(gravity)
            if (x < OPPOSITE) { // half a turn about z
                return Mount(listOf(doubleArrayOf(-1.0, 0.0, 0.0), doubleArrayOf(0.0, -1.0, 0.0), doubleArrayOf(0.0, 0.0, 1.0)))
            }
            val scale = 1.0 / (1.0 + x)
            // The axis is gravity x (1, 0, 0) = (0, z, -y); R = I + K + K K / (1 + cosine).
            return Mount(
                listOf(
                    doubleArrayOf(1.0 - (y * y + z * z) * scale, y, z),
                    doubleArrayOf(-y, 1.0 - y * y * scale, -y * z * scale),
                    doubleArrayOf(-z, -y * z * scale, 1.0 - z * z * scale),
                ),
            )
        }
    }
}

/** Whether the mounting of the phone is known. */
enum class MountState {
    /** There is no estimate yet. */
    UNKNOWN,

    /** There is an estimate. */
    ESTIMATED,

    /** The phone was put elsewhere: reported once, for the window at which the change was detected. */
    CHANGED,
}

/**
 * An estimate of the mounting.
 *
 * @property gravity unit vector of gravity in the axes of the phone
 * @property spreadDegrees weighted root mean square angle between the windows' gravity and the estimate
 * @property seconds duration of the standing, or of the level walking by weight, that the estimate consists of
 */
class MountEstimate(val gravity: DoubleArray, val spreadDegrees: Double, val seconds: Double) {
    /** The rotation that takes the estimated gravity to +x. */
    val mount: Mount get() = Mount.fromGravity(gravity)
}

internal fun norm(vector: DoubleArray): Double = sqrt(vector[0] * vector[0] + vector[1] * vector[1] + vector[2] * vector[2])

/** Returns [vector] with length 1. Throws [InputException] for a vector without direction. */
internal fun unitVector(vector: DoubleArray): DoubleArray {
    val length = norm(vector)
    if (!(length > 1e-6 && length < Double.POSITIVE_INFINITY)) {
        throw InputException("gravity has no direction: the mean acceleration is zero or not finite")
    }
    return DoubleArray(3) { vector[it] / length }
}

/** Returns the angle between two vectors in degrees; 0 if one of them has no length. */
internal fun angleDegrees(a: DoubleArray, b: DoubleArray): Double {
    val lengths = norm(a) * norm(b)
    if (lengths == 0.0) return 0.0
    val cosine = (a[0] * b[0] + a[1] * b[1] + a[2] * b[2]) / lengths
    return Math.toDegrees(acos(cosine.coerceIn(-1.0, 1.0)))
}
