package org.harexport.core

/** Something from outside is not usable. The message is a sentence for people: what was wrong, and what to do. */
class BadInput(message: String, cause: Throwable? = null) : RuntimeException(message, cause)
