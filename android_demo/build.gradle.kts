// Both plugins are declared here so that AGP's built-in Kotlin uses the same version for :app as for :core.
plugins {
    alias(libs.plugins.android.application) apply false
    alias(libs.plugins.kotlin.jvm) apply false
}
