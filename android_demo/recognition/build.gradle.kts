// Self-contained: copy this folder and core into any Gradle project with the Android Gradle plugin 9, or let
// `harexport export --android-library` write both as one module.
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

    testOptions {
        unitTests.all { it.systemProperty("repository", rootDir.parent) } // the tests read the model of the demo
    }
}

kotlin {
    explicitApi()
    jvmToolchain(17)
}

dependencies {
    api(project(":core"))
    api("org.jetbrains.kotlinx:kotlinx-coroutines-android:1.9.0")
    // Not 2.x: litert 2.0 has no org.tensorflow.lite.Interpreter; litert 2.1 and litert-api share a namespace, which the
    // Android Gradle plugin 9 rejects (LiteRT issues 4775 and 8474).
    implementation("com.google.ai.edge.litert:litert:1.4.1")
    testImplementation("junit:junit:4.13.2")
    testImplementation("org.robolectric:robolectric:4.17")
}
