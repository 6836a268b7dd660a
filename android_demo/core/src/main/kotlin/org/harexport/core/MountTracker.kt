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

    init {
        if (contract.frame != null) {
            checkVectors(contract)
            if (gravityChannels.any { it < 0 }) {
                throw InputException("the mounting cannot be estimated: the model has no channels total_acc_x, total_acc_y, total_acc_z")
            }
            reset()
        }
    }

    /** The state after the last window; null for a contract without a frame. */
    val state: MountState? get() = estimator?.state

    /** The present estimate; null if there is none. */
    val estimate: MountEstimate? get() = estimator?.estimate

    /** The present rotation. */
    var mount: Mount = Mount.AS_IS
        private set

    /** Discards the estimate. */
    fun reset() {
        estimator = contract.frame?.let { WalkingMountEstimator(contract.rateHz, contract.hop / contract.rateHz) }
        mount = Mount.AS_IS
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
        val before = estimator.estimate
        val width = contract.channels.size
        val toPhone = window.mount.inverse
        val estimate =
            estimator.push(
                List(contract.window) { k -> toPhone.rotate(DoubleArray(3) { window.signals[k * width + gravityChannels[it]] }) },
                standingProbability = if (standing < 0) 0.0 else probabilities[standing],
            )
        if (estimate !== before) {
            mount = estimate?.mount ?: Mount.AS_IS
            stream.rotateTo(mount)
        }
    }
}
