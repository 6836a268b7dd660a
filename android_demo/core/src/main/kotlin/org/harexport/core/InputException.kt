package org.harexport.core

/** Invalid input. The message states the problem and what to do about it; it is meant for the user. */
open class InputException(message: String, cause: Throwable? = null) : RuntimeException(message, cause)
