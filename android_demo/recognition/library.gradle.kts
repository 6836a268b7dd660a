// Build script of the module that `harexport export --android-library` writes: core, recognition and a model in one.
// For Android Gradle plugin 8, add id("org.jetbrains.kotlin.android") to the plugins; version 9 contains Kotlin.
plugins {
    id("com.android.library")
}

android {
    namespace = "org.harexport.recognition"
    compileSdk = 36

    defaultConfig {
        minSdk = 26
        consumerProguardFiles("consumer-rules.pro")
    }
}

kotlin {
    jvmToolchain(17)
}

dependencies {
    api("org.jetbrains.kotlinx:kotlinx-coroutines-android:1.9.0")
    // Not 2.x: litert 2.0 has no org.tensorflow.lite.Interpreter; litert 2.1 and litert-api share a namespace, which the
    // Android Gradle plugin 9 rejects (LiteRT issues 4775 and 8474).
    implementation("com.google.ai.edge.litert:litert:1.4.1")
}
