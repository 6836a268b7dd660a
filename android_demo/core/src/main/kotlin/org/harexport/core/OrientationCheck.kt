package org.harexport.core

/**
 * Detects a phone that is worn in another orientation than in the UCI HAR recordings.
 *
 * Those phones were worn at the waist with the x axis up (landscape). In the training data gravity along x is below
 * [MIN_GRAVITY_ALONG_X] for no window of walking, stairs or standing, for 4 % of sitting and for all of lying. A tilted
 * phone is therefore only plausible while sitting or lying, and only after the orientation has been confirmed by an
 * upright window. Not thread-safe.
 */
internal class OrientationCheck(private val contract: Contract) {
    private var isConfirmed = false

    /** Whether the model expects the axes of the UCI HAR phones: its activities, total acceleration, no mount stage. */
    private val isApplicable =
        contract.frame == null && contract.labels == UCI_HAR_LABELS && GRAVITY_CHANNELS.all { it in contract.channels }

    /** Returns whether a settled window of [label] contradicts the orientation of the training data. */
    fun isViolated(label: String, gravityAlongX: Double?): Boolean {
        if (!isApplicable || gravityAlongX == null) return false
        if (gravityAlongX >= MIN_GRAVITY_ALONG_X) {
            isConfirmed = true
        } else if (label !in TILTED_LABELS) {
            isConfirmed = false
        }
        return !isConfirmed
    }

    /** Discards the confirmation. */
    fun reset() {
        isConfirmed = false
    }

    companion object {
        val GRAVITY_CHANNELS = listOf("total_acc_x", "total_acc_y", "total_acc_z")
        private const val MIN_GRAVITY_ALONG_X = 0.7
        private val TILTED_LABELS = setOf("SITTING", "LAYING")
        private val UCI_HAR_LABELS =
            listOf("WALKING", "WALKING_UPSTAIRS", "WALKING_DOWNSTAIRS", "SITTING", "STANDING", "LAYING")
    }
}
