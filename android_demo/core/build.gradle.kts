plugins {
    alias(libs.plugins.kotlin.jvm)
}

kotlin {
    jvmToolchain(17)
}

dependencies {
    compileOnly(libs.json) // Android has these classes itself
    testImplementation(libs.json)
    testImplementation(libs.junit)
}

tasks.test {
    useJUnit()
    systemProperty("repository", rootDir.parent) // tests/golden lies there
}
