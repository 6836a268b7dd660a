package org.harexport.core

/**
 * The mount stage of a stream: estimates the mounting and rotates the stream into the frame of the model.
 *
 * A window is predicted with the estimate of the windows before it, and then updates the estimate. Has no effect for a
 * contract without a frame. An estimate is kept across gaps and restarts, because the phone stays where it is. Not
 * thread-safe. Throws [InputException] for a contract whose frame requires acceleration with gravity that its channels
 * do not contain.
 */
class MountTracker(private val contract: Contract) {
    private val gravityChannels = OrientationCheck.GRAVITY_CHANNELS.map(contract.channels::indexOf)
    private val standing = contract.labels.indexOf("STANDING")
    private var estimator: WalkingMountEstimator? = null
    private var standingEstimate: MountEstimate? = null

    /** The state after the last window; null for a contract without a frame. */
    var state: MountState? = null
        private set

    /** The present estimate; null if there is none. */
    var estimate: MountEstimate? = null
        private set

    /** Share of the level walking that the first estimate requires, 0 to 1. */
    val progress: Double get() = if (estimate != null) 1.0 else estimator?.progress ?: 0.0

    /** The present rotation. */
    var mount: Mount = Mount.AS_IS
        private set

    init {
        if (contract.frame != null) {
            checkVectors(contract)
            if (gravityChannels.any { it < 0 }) {
                throw InputException("the mounting cannot be estimated: the model has no channels total_acc_x, total_acc_y, total_acc_z")
            }
            reset()
        }
    }

    /** Discards the estimate. */
    fun reset() {
        estimator = contract.frame?.let { WalkingMountEstimator(contract.rateHz, contract.hop / contract.rateHz) }
        standingEstimate = null
        estimate = null
        state = estimator?.state
        mount = Mount.AS_IS
    }

    /**
     * Uses an [estimate] from standing, which the user has started, instead of walking.
     *
     * It is more accurate than walking, on which people lean, and stays until an estimate from walking deviates from it by
     * more than [WalkingMountEstimator.CHANGE_DEGREES]. Has no effect for a contract without a frame.
     */
    fun start(estimate: MountEstimate) {
        if (contract.frame == null) return
        reset()
        standingEstimate = estimate
        this.estimate = estimate
        state = MountState.ESTIMATED
        mount = estimate.mount
    }

    /** Returns [window] in the frame of the model; unchanged while there is no estimate. */
    fun toFrame(window: Window): Window = if (estimator == null) window else window.rotateTo(mount)

    /**
     * Updates the estimate with a window of [stream], and rotates [stream] if the estimate has changed.
     *
     * @param probabilities the prediction for the window in the frame of the model
     */
    fun update(window: Window, probabilities: DoubleArray, stream: Stream) {
        val estimator = estimator ?: return
        val before = estimate
        val width = contract.channels.size
        val toPhone = window.mount.inverse
        val walking =
            estimator.push(
                List(contract.window) { k -> toPhone.rotate(DoubleArray(3) { window.signals[k * width + gravityChannels[it]] }) },
                standingProbability = if (standing < 0) 0.0 else probabilities[standing],
            )
        val fixed = standingEstimate
        if (fixed == null) {
            state = estimator.state
            estimate = walking
        } else if (walking == null || angleDegrees(walking.gravity, fixed.gravity) <= WalkingMountEstimator.CHANGE_DEGREES) {
            state = MountState.ESTIMATED
        } else {
            standingEstimate = null
            state = MountState.CHANGED
            estimate = walking
        }
        if (estimate !== before) {
            mount = estimate?.mount ?: Mount.AS_IS
            stream.rotateTo(mount)
        }
    }
}
