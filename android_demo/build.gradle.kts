// Both plugins here, so that AGP's built-in Kotlin compiles :app with the Kotlin that :core names.
plugins {
    alias(libs.plugins.android.application) apply false
    alias(libs.plugins.kotlin.jvm) apply false
}
