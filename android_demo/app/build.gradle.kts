plugins {
    alias(libs.plugins.android.application)
    alias(libs.plugins.compose.compiler)
}

android {
    namespace = "org.harexport.demo"
    compileSdk = 36

    defaultConfig {
        applicationId = "org.harexport.demo"
        minSdk = 26
        targetSdk = 36 // required by Google Play for new apps since August 2026
        versionCode = 1
        versionName = "1.0"
    }

    buildFeatures {
        compose = true
    }

    androidResources {
        noCompress += "tflite" // the model is mapped into memory directly from the APK
    }

    buildTypes {
        release {
            isMinifyEnabled = true
            isShrinkResources = true
            proguardFiles(getDefaultProguardFile("proguard-android-optimize.txt"), "proguard-rules.pro")
        }
    }

    testOptions {
        unitTests {
            isIncludeAndroidResources = true
            all {
                // As in checks/app. Tests that load the model fail here: LiteRT has no library for computers. They pass in
                // checks/app, which uses TensorFlow Lite's library for Linux.
                it.systemProperty("golden", "$rootDir/../tests/golden/stream.json")
                it.systemProperty("schema", "$rootDir/../harexport/targets/selftest.schema.json")
                it.systemProperty("assets", "$projectDir/src/main/assets")
                it.systemProperty("kept", "${layout.buildDirectory.get()}/kept")
                it.systemProperty("screenshots", "${layout.buildDirectory.get()}/screenshots")
            }
        }
    }
}

kotlin {
    jvmToolchain(17)
}

dependencies {
    implementation(project(":core"))
    implementation(project(":recognition"))
    implementation(libs.activity.compose)
    implementation(libs.compose.foundation)
    implementation(libs.compose.ui)
    implementation(libs.lifecycle.runtime.compose)
    implementation(libs.lifecycle.viewmodel.compose)
    implementation(libs.material3)
    testImplementation("junit:junit:4.13.2")
    testImplementation("org.robolectric:robolectric:4.17")
}
