plugins {
    alias(libs.plugins.android.application)
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

    sourceSets.getByName("test").setRoot("src/none") // src/test requires the Maven setup of checks/app
}

kotlin {
    jvmToolchain(17)
}

dependencies {
    implementation(project(":core"))
    implementation(project(":recognition"))
}
