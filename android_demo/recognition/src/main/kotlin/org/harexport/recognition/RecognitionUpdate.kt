package org.harexport.recognition

import org.harexport.core.Contract
import org.harexport.core.MountEstimate
import org.harexport.core.Prediction
import org.harexport.core.RestartCause
import org.harexport.core.SensorProblem

/** What [ActivityRecognizer] reports. */
public sealed interface RecognitionUpdate {
    /**
     * The model has been loaded and verified, and the sensors run.
     *
     * @property contract the contract of the model that was chosen for the sensors of this phone
     */
    public class Started internal constructor(public val contract: Contract) : RecognitionUpdate

    /**
     * A window was classified.
     *
     * @property prediction unreliable if its `qualityFlag` is not null, for example MOUNT while the mounting is unknown
     * @property mount the estimated mounting; null while it is unknown, and for a model without a mount stage
     * @property mountProgress share of the level walking that the first estimate requires, 0 to 1
     */
    public class Predicted internal constructor(
        public val prediction: Prediction,
        public val mount: MountEstimate?,
        public val mountProgress: Double,
    ) : RecognitionUpdate

    /** Recognition restarted, and needs a few seconds until the next prediction. */
    public class Restarted internal constructor(public val cause: RestartCause) : RecognitionUpdate

    /** A sensor does not suffice; null as soon as it does again. */
    public class SensorChanged internal constructor(public val problem: SensorProblem?) : RecognitionUpdate

    /** Recognition has ended: the model cannot be used on this phone. [message] is English. */
    public class Failed internal constructor(public val message: String, public val cause: Throwable) : RecognitionUpdate
}
