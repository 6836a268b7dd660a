plugins {
    alias(libs.plugins.android.application)
}

android {
    namespace = "org.harexport.demo"
    compileSdk = 36

    defaultConfig {
        applicationId = "org.harexport.demo"
        minSdk = 26
        targetSdk = 36 // what Play asks of new apps since August 2026
        versionCode = 1
        versionName = "1.0"
    }

    androidResources {
        noCompress += "tflite" // the model is mapped into memory as it lies in the APK
    }

    buildTypes {
        release {
            isMinifyEnabled = true
            isShrinkResources = true
            proguardFiles(getDefaultProguardFile("proguard-android-optimize.txt"), "proguard-rules.pro")
        }
    }

    sourceSets.getByName("test").setRoot("src/none") // src/test needs what only Maven sets up: checks/app runs it
}

kotlin {
    jvmToolchain(17)
}

dependencies {
    implementation(project(":core"))
    implementation(libs.litert)
}
